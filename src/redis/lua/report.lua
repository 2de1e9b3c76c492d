-- What became of tasks that are held, in eights, each for itself; with an event, a final is made here, once for each run.

local ENDS = { completed = COMPLETED, failed = FAILED, cancelled = CANCELLED }
-- What a run came to that is tried again.
local TRIED = { retry = FAILED, parked = FAILED }

local function carry_out(task, slot, report, due)
  if report == 'dispatched' then
    -- What is carried out elsewhere may take days, and whoever holds it has nothing to say meanwhile.
    note_in(P .. 'e', task)
    slot[UNTIL] = 0
    turn(task, slot, DISPATCHED)
    return
  end
  let_go(task, slot)
  if ENDS[report] then
    finish(task, slot, ENDS[report])
  elseif report == 'parked' then
    slot[RUN], slot[LOST_BY] = slot[RUN] + 1, ''
    turn(task, slot, PARKED)
  elseif report == 'retry' then
    again(task, slot, 1, due)
  else
    again(task, slot, 0, '')
  end
end

local function tell(at)
  local task, run, of_epoch, number = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local report, has_event = ARGV[at + 4], ARGV[at + 6] ~= ''
  local final = P .. 'f:' .. run .. ':' .. task
  local made = has_event and call('GET', final)
  if made then
    local before = cmsgpack.unpack(made)
    if before[1] == of_epoch and before[2] == number then return { 'ok', before[3] } end
    return { 'stale' }
  end
  local slot = load(task)
  if not holds(slot, run, of_epoch, number) then return { 'stale' } end
  news = {}
  carry_out(task, slot, report, ARGV[at + 5])
  if has_event then
    keep_final(task, tonumber(run), ENDS[report] or TRIED[report], of_epoch, number, ARGV[at + 7])
  end
  return { 'ok', news }
end

local named, told = {}, {}
for at = FIRST, #ARGV, 8 do named[#named + 1] = ARGV[at] end
preload(named)
preload_in_progress(named)
for at = FIRST, #ARGV, 8 do told[#told + 1] = tell(at) end
return answer(told)
