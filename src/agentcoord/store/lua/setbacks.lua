-- Put after line.lua of every script that counts what went against a task, or brings one back.
-- Counts what went against a task. Its hash has these fields only when something did: `back` (how many
-- in all), `n:<kind>` since a person last brought it back, `o:<kind>` before that.
local function count_setback(id, kind)
  redis.call('HINCRBY', task_key(id), 'back', 1)
  redis.call('HINCRBY', task_key(id), 'n:' .. kind, 1)
end

-- Counts a setback, and writes it down in LIST `h:<id>`: [at_ms, kind, why, to, attempt, worker, token, model].
local function note_setback(id, kind, at, why, to, model, most)
  local task = redis.call('HMGET', task_key(id), 'attempt', 'worker', 'token')
  count_setback(id, kind)
  redis.call('HSET', task_key(id), 'setback', kind)
  redis.call('RPUSH', P .. 'h:' .. id, cjson.encode(
    {at, kind, why, to, task[1] or '0', task[2] or '', task[3] or '', model}))
  redis.call('LTRIM', P .. 'h:' .. id, -tonumber(most), -1)
end

-- Begins a task anew that had ended or was parked: who remembers ended tasks reads them again. Its counts of
-- setbacks become those of before.
local function bring_back(id, from, queued, blocked)
  local key = task_key(id)
  redis.call('INCR', P .. 'revised')
  look_into(id)
  redis.call('HDEL', key, 'cause', 'ended_at', 'setback', 'due')
  if redis.call('HEXISTS', key, 'back') == 1 then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if string.sub(fields[i], 1, 2) == 'n:' then
        redis.call('HINCRBY', key, 'o:' .. string.sub(fields[i], 3), fields[i + 1])
        redis.call('HDEL', key, fields[i])
      end
    end
  end
  local open = tonumber(redis.call('HGET', key, 'open') or '0')
  move_state(id, from, open > 0 and blocked or queued, 'attempt', 0, 'why', '')
  if open == 0 then make_ready(id) end
end

