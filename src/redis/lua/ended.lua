-- What the journal knows to be over, in threes of task, run and state, and the queue knows otherwise.

for at = FIRST, #ARGV, 3 do
  local task, run, state = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local slot = load(task)
  if not slot then
    -- Others may wait for it as it was before.
    spread(task, state)
  elseif slot[RUN] <= run then
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
end
return answer(news)
