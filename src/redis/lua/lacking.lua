-- Which of these tasks have no text here, by their places.

local lacking = {}
for place, task in ipairs(ARGV) do
  if call('EXISTS', P .. 'x:' .. task) == 0 then lacking[#lacking + 1] = place - 1 end
end
return lacking
