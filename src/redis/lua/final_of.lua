-- How a run ended, as long as that is kept.

local id = ARGV[1]
local made = call('GET', P .. 'f:' .. id)
if not made then return {} end
local final = cmsgpack.unpack(made)
return { { id, final[1], final[2], final[3], final[4], final[5], whole(final[6]) } }
