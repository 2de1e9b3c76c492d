-- Finals that nobody has said to be published, the oldest first.

local finals = {}
for _, id in ipairs(call('ZRANGE', P .. 'u', 0, tonumber(ARGV[1]) - 1)) do
  local made = call('GET', P .. 'f:' .. id)
  if made then
    local final = cmsgpack.unpack(made)
    finals[#finals + 1] = { id, final[1], final[2], final[3], final[4], final[5] }
  end
end
return finals
