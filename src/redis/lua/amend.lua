-- Puts a run as it is wanted by now into the place of what waits or is PARKED.

if not proven then return unproven() end
local task, slot = read_entry(read_ended(FIRST))
local before = load(task)
if not before then return refuse('unknown') end
local state = before[STATE]
if before[RUN] ~= slot[RUN] or not (state == QUEUED or state == BLOCKED or state == PARKED) then
  return refuse('wrong', task, state)
end
take(task, slot)
local refused = refusal(tonumber(ARGV[FIRST]))
if refused then return refused end
put(task)
if settle(task, task) == SKIPPED then spread(task) end
return answer(news)
