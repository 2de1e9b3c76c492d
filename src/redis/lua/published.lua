-- Finals that are out, of those that stood here in an epoch. They are kept for a while, to refuse a second one and to tell
-- daemons that were away.

local of_epoch, kept = ARGV[FIRST], ARGV[FIRST + 1]
if of_epoch ~= whole(epoch) then return answer({}) end
for at = FIRST + 2, #ARGV do
  local id = ARGV[at]
  if call('ZREM', P .. 'u', id) == 1 then call('EXPIRE', P .. 'f:' .. id, kept) end
end

-- As many old ones go at most as came in a while.
local STEP_OUT = 64
for _, id in ipairs(call('ZRANGE', P .. 'a', 0, STEP_OUT - 1)) do
  if call('EXISTS', P .. 'f:' .. id) == 0 then call('ZREM', P .. 'a', id) end
end
return answer({})
