-- A holder whose leases an epoch has ended gets them anew under new fences, in steps: those older than the mark.

local holder, length, mark = ARGV[FIRST], tonumber(ARGV[FIRST + 1]), ARGV[FIRST + 2]
if not proven then return unproven() end
if mark == '' then mark = whole(fences) end
local time = now()

local renewed = {}
for _, task in ipairs(call('ZRANGEBYSCORE', P .. 'o:' .. holder, '-inf', mark, 'LIMIT', 0, 256)) do
  local slot = load(task)
  lease(task, slot, holder, slot[STATE] == DISPATCHED and 0 or time + length)
  renewed[#renewed + 1] = { task, slot }
end
return answer({ mark, renewed })
