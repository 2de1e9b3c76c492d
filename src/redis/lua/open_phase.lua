-- A story has reached a phase: what waited for it may be claimed.

local story, phase = ARGV[FIRST], ARGV[FIRST + 1]
if not proven then return unproven() end
local waiting = P .. 'p:' .. #story .. ':' .. story .. phase
local opened = call('ZRANGE', waiting, 0, -1)
for _, task in ipairs(opened) do
  load(task)[HOLD] = ''
  changed[task] = true
end
call('DEL', waiting)
for _, task in ipairs(opened) do settle(task, task) end
return answer(opened)
