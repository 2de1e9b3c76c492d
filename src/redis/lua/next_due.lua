-- When the next task that waits for its time can be claimed, once time has brought what it brings by now.

local time = now()
if not pass(time) then return more() end
-- A lease that ran out may have brought back one whose time has come meanwhile.
if not pass(time) then return more() end
local first = call('ZRANGE', P .. 'w', 0, 0)[1]
local due = first and load(first)[DUE] or ''
return unkept(due)
