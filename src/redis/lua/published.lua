-- Finals that are out, in pairs of name and place in the stream of events, of those that stood here in an epoch. They are
-- kept for a while, to refuse a second one and to tell daemons that were away; their places for as long as the stream may
-- lose what it had.

-- In seconds: as far back as a stream is mended.
local MENDED = 600
-- As many old ones go at most as came in a while.
local STEP_OUT = 64

local of_epoch, kept = ARGV[FIRST], tonumber(ARGV[FIRST + 1])
if of_epoch ~= whole(epoch) then return answer({}) end
for at = FIRST + 2, #ARGV, 2 do
  local id, sequence = ARGV[at], ARGV[at + 1]
  if call('ZREM', P .. 'u', id) == 1 then
    call('EXPIRE', P .. 'f:' .. id, kept)
    if sequence ~= '0' then call('ZADD', P .. 'out', sequence, id) end
  end
end

for _, id in ipairs(call('ZRANGE', P .. 'out', 0, STEP_OUT - 1)) do
  if call('TTL', P .. 'f:' .. id) < kept - MENDED then call('ZREM', P .. 'out', id) end
end
for _, id in ipairs(call('ZRANGE', P .. 'a', 0, STEP_OUT - 1)) do
  if call('EXISTS', P .. 'f:' .. id) == 0 then call('ZREM', P .. 'a', id) end
end
return answer({})
