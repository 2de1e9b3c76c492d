-- What a task is about, and whose lease on it ran out last.

local text = call('GET', P .. 'x:' .. ARGV[1])
if not text then return {} end
local slot = load(ARGV[1])
return { text, slot and slot[LOST_BY] or '' }
