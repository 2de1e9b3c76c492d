-- A final that is out and its place in the stream of events, counted from the last one.

local rank = ARGV[1]
return call('ZREVRANGE', P .. 'out', rank, rank, 'WITHSCORES')
