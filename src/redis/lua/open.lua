-- The beginning and the end of every script that changes something: whether the data can be trusted, and whether this
-- request was answered before.

local server, known_epoch, known_fence = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local client, place, sequence = ARGV[4], ARGV[5], tonumber(ARGV[6])
local FIRST = 7

local stored = call('HMGET', META, 'server', 'epoch', 'fence', 'proven', 'arrivals', 'open', 'why')
local epoch, fences = tonumber(stored[2] or 0), tonumber(stored[3] or 0)
local arrivals, open_tasks = tonumber(stored[5] or 0), tonumber(stored[6] or 0)
local read = { fences, arrivals, open_tasks }
local proven, why = stored[4] == stored[2] and stored[2] ~= false, stored[7]

local function distrust(reason)
  epoch = math.max(now(), epoch + 1, known_epoch + 1)
  fences = math.max(fences, known_fence)
  proven, why = false, reason
  call('HSET', META, 'server', server, 'epoch', whole(epoch), 'fence', whole(fences), 'why', reason)
  read[1] = fences
end

if not stored[1] then
  distrust('nothing is known here yet')
elseif epoch < known_epoch or (epoch == known_epoch and fences < known_fence) then
  distrust('its data went back in time')
elseif stored[1] ~= server then
  distrust('its server was started anew or replaced')
end

-- A request that comes again is answered as it was, and one that was given up is not carried out late.
local answered = call('HGET', P .. 'r:' .. client, place)
if answered then
  local before = tonumber(string.sub(answered, 1, 16))
  if before == sequence then return cmsgpack.unpack(string.sub(answered, 17)) end
  if before > sequence then return { 'late', whole(epoch), whole(fences), '' } end
end

-- Without news for so long a client is gone, and nothing of its comes late.
local REMEMBERED = 600

-- Every answer says why the data cannot be trusted, if so.
local function trust()
  return proven and '' or why or 'nothing is known here yet'
end

local function refuse(kind, ...)
  return { kind, whole(epoch), whole(fences), trust(), ... }
end

local function unproven()
  return refuse('unproven')
end

local function write_meta()
  local fields = {}
  local function note(name, number, before)
    if number ~= before then fields[#fields + 1], fields[#fields + 2] = name, whole(number) end
  end
  note('fence', fences, read[1])
  note('arrivals', arrivals, read[2])
  note('open', open_tasks, read[3])
  if #fields > 0 then call('HSET', META, unpack(fields)) end
  local some, none = {}, {}
  for field, number in pairs(held) do
    if number ~= held_before[field] then
      if number > 0 then
        some[#some + 1], some[#some + 2] = field, number
      else
        none[#none + 1] = field
      end
    end
  end
  each_of(some, 'HSET', P .. 'h')
  each_of(none, 'HDEL', P .. 'h')
end

-- The answer to what does the same when it comes again, and need not be remembered.
local function unkept(payload)
  write_back()
  write_meta()
  return refuse('ok', payload)
end

local function answer(payload)
  write_back()
  write_meta()
  local reply = refuse('ok', payload)
  local key = P .. 'r:' .. client
  call('HSET', key, place, string.format('%016.0f', sequence) .. cmsgpack.pack(reply))
  if call('TTL', key) < REMEMBERED / 2 then call('EXPIRE', key, REMEMBERED) end
  return reply
end

-- So much was done of what time brought, and there is more: to be asked again. Nothing else happened.
local function more()
  write_back()
  write_meta()
  return refuse('more')
end
