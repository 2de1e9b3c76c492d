-- The epoch, and finals by the set that names them, the oldest first: those that nobody has said to be published, or all
-- behind a place.

local set, behind, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local finals = {}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. set, '(' .. behind, '+inf', 'LIMIT', 0, limit)) do
  local made = call('GET', P .. 'f:' .. id)
  if made then
    local final = cmsgpack.unpack(made)
    finals[#finals + 1] = { id, final[1], final[2], final[3], final[4], final[5], whole(final[6]) }
  end
end
return { call('HGET', META, 'epoch') or '0', finals }
