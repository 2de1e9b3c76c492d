-- Finals that stood behind a place of the stream of events, which has lost them, are to be published again, in steps.

local behind, most = ARGV[FIRST], ARGV[FIRST + 1]
local lost = call('ZRANGEBYSCORE', P .. 'out', '(' .. behind, '+inf', 'LIMIT', 0, most)
for _, id in ipairs(lost) do
  call('ZREM', P .. 'out', id)
  local made = call('GET', P .. 'f:' .. id)
  if made then
    call('PERSIST', P .. 'f:' .. id)
    call('ZADD', P .. 'u', cmsgpack.unpack(made)[6], id)
  end
end
return answer(#lost)
