-- What is asked of a task, whoever holds it. What is so already is no error.

local task, request = ARGV[FIRST], ARGV[FIRST + 1]
if not proven then return unproven() end
local slot = load(task)
if not slot then return refuse('unknown') end
local state = slot[STATE]

if request == 'cancel' and state == CANCELLED or request == 'park' and state == PARKED then
  return answer({})
elseif request == 'release' and (state == QUEUED or state == BLOCKED) then
  return answer({})
elseif request == 'cancel' and not is_over(state) then
  let_go(task, slot)
  take_down(task, slot)
  finish(task, slot, CANCELLED)
elseif request == 'park' and (state == QUEUED or state == BLOCKED) then
  take_down(task, slot)
  turn(task, slot, PARKED)
elseif request == 'release' and state == PARKED then
  again(task, slot, 0, '')
else
  return refuse('wrong', task, state)
end
return answer(news)
