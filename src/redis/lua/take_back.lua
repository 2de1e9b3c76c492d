-- A holder that starts anew gives back its leases, in steps: those behind one number and not above the mark, so that what
-- it claims meanwhile stays its own. What is DISPATCHED is carried out elsewhere and stays so.

local STEP_BACK = 256
local holder, behind, mark = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]
if not proven then return unproven() end
if mark == '' then mark = whole(fences) end

local some = call('ZRANGEBYSCORE', P .. 'o:' .. holder, '(' .. behind, mark, 'LIMIT', 0, STEP_BACK)
local back = {}
for _, task in ipairs(some) do
  local slot = load(task)
  behind = whole(slot[FENCE])
  if slot[STATE] == IN_PROGRESS then
    let_go(task, slot)
    again(task, slot, 0, '')
    back[#back + 1] = task
  end
end
return answer({ #some < STEP_BACK and '' or mark, behind, back })
