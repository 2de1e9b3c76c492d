-- What a journal knows to be over, in fours of task, run, state and event, and the queue knows otherwise. With an event,
-- the end is kept for all, unless there is one.

for at = FIRST, #ARGV, 4 do
  local task, run, state, event = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), ARGV[at + 3]
  local slot = load(task)
  local is_later = slot and slot[RUN] > run
  local told = news
  news = {}
  if not slot then
    -- Others may wait for it as it was before.
    spread(task, state)
  elseif not is_later then
    slot[RUN] = run
    if not is_over(slot[STATE]) then
      let_go(task, slot)
      take_down(task, slot)
      finish(task, slot, state)
    elseif slot[STATE] ~= state then
      turn(task, slot, state)
      spread(task)
    end
  end
  if event ~= '' then keep_final(task, run, state, '0', '0', event) end
  for _, one in ipairs(news) do told[#told + 1] = one end
  news = told
end
return answer(news)
