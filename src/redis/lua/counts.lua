-- How many tasks stand where.

return call('HGETALL', P .. 'c')
