-- Tasks in the order of their ids, in steps: what of this step is asked for, and where the next one begins.

local from, limit, scan = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state, role, story, plan = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

local function is_asked_for(slot)
  return (state == '' or slot[STATE] == tonumber(state)) and (role == '' or slot[ROLE] == role)
    and (story == '' or slot[STORY] == story) and (plan == '' or slot[PLAN] == plan)
end

local rows = {}
local tasks = call('ZRANGEBYLEX', P .. 'i', from, '+', 'LIMIT', 0, scan)
for _, task in ipairs(tasks) do
  if #rows == limit then return { '(' .. rows[#rows][1], rows } end
  if is_asked_for(load(task)) then rows[#rows + 1] = row(task) end
end
if #tasks < scan or #rows == limit then return { '', rows } end
return { '(' .. tasks[#tasks], rows }
