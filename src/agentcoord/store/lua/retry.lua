-- Brings a task back that a person wants tried again; what ended only because of it follows as a wave, in
-- this call as far as its bound goes.
-- ARGV  those of spreading.lua, 16 id  17 csv of states it may be in  18 setback to note  19 why
--       20 most lines kept of a history
-- Returns {1, '', what `spread()` returns}, or {0, the need of its own that has ended without a result, if
--       that is what forbids it}.
-- Cost  16 calls, one a need, 2 a kind of setback, and that of `spread()`.
-- Invariant: its history stays. `open` is right in every state, so it is right as it stands.
local id = ARGV[16]
local task = redis.call('HMGET', task_key(id), 'state', 'onfail', 'open')
local state = task[1]
if not state or not set_of(ARGV[17])[state] then return finish({0, ''}) end
if task[2] ~= run then
  local need = dead_need(id, dead)
  if need then return finish({0, need}) end
end
local to = tonumber(task[3] or '0') > 0 and blocked or queued
note_setback(id, ARGV[18], now, ARGV[19], to, '', ARGV[20])
bring_back(id, state, queued, blocked)
if dead[state] then begin_wave('r', id) end
return finish({1, '', spread()})
