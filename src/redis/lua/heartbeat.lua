-- Keeps leases, in fours of task, run, epoch and number; answers the places of those that are lost.

local length = tonumber(ARGV[FIRST])
local time = now()
if not pass(time) then return more() end

local lost = {}
for at = FIRST + 1, #ARGV, 4 do
  local task = ARGV[at]
  local slot = load(task)
  if not holds(slot, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]) then
    lost[#lost + 1] = (at - FIRST - 1) / 4
  elseif slot[UNTIL] > 0 then
    slot[UNTIL] = time + length
    changed[task] = true
    note_in(P .. 'e', task, slot[UNTIL])
  end
end
return answer(lost)
