-- All that a journal knows has been said since this epoch began: the queue can be trusted again. Without an epoch, this
-- only looks.

local of_epoch = ARGV[FIRST]
if of_epoch == whole(epoch) then
  call('HSET', META, 'proven', whole(epoch))
  call('HDEL', META, 'why')
  proven = true
elseif of_epoch == '' and not proven then
  return unproven()
elseif of_epoch ~= '' then
  return refuse('unproven', 'it began anew while it was told what the journal knows')
end
return answer({})
