-- Brings a task back that a person wants tried again; what ended only because of it follows as a wave.
-- ARGV  1 id  2 csv of states it may be in  3 queued  4 blocked  5 csv of states of a need that never
--       become done by themselves  6 the rule "run"  7 now_ms  8 setback to note  9 why
--       10 most lines kept of a history
-- Returns {1, ''}, or {0, the need of its own that has ended without a result, if that is what forbids it}.
-- Cost  15 calls, one a need, and 2 a kind of setback.
-- Invariant: its history stays. `open` is right in every state, so it is right as it stands.
local id, queued, blocked, dead = ARGV[1], ARGV[3], ARGV[4], set_of(ARGV[5])
local task = redis.call('HMGET', task_key(id), 'state', 'onfail', 'open')
local state = task[1]
if not state or not set_of(ARGV[2])[state] then return finish({0, ''}) end
if task[2] ~= ARGV[6] then
  local need = dead_need(id, dead)
  if need then return finish({0, need}) end
end
local to = tonumber(task[3] or '0') > 0 and blocked or queued
note_setback(id, ARGV[8], ARGV[7], ARGV[9], to, '', ARGV[10])
bring_back(id, state, queued, blocked)
if dead[state] then begin_wave('r', id) end
return finish({1, ''})
