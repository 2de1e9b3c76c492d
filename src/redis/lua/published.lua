-- Finals that are out. What is kept of them for a while refuses a second one.

local kept = ARGV[FIRST]
for at = FIRST + 1, #ARGV do
  local id = ARGV[at]
  local made = call('ZREM', P .. 'u', id) == 1 and call('GET', P .. 'f:' .. id)
  if made then
    local final = cmsgpack.unpack(made)
    call('SET', P .. 'f:' .. id, cmsgpack.pack({ final[1], final[2], final[3], final[4], '' }), 'EX', kept)
  end
end
return answer({})
