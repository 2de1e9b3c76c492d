-- A new lease on a task that its holder works on since before it started anew, or that is DISPATCHED for it.

local task, run, holder, length = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2], tonumber(ARGV[FIRST + 3])
if not proven then return unproven() end
local slot = load(task)
if not slot then return refuse('unknown') end
local state = slot[STATE]
local is_own = (state == IN_PROGRESS or state == DISPATCHED) and slot[HOLDER] == holder
if whole(slot[RUN]) ~= run or not (is_own or state == QUEUED or state == BLOCKED) then
  return refuse('wrong', task, state)
end
let_go(task, slot)
take_down(task, slot)
-- Its time has come, however it came to be held.
slot[DUE] = ''
turn(task, slot, IN_PROGRESS)
lease(task, slot, holder, now() + length)
return answer({ whole(epoch), whole(slot[FENCE]) })
