-- Put after the prelude of every script that reserves money or books it.
-- Whether the server has lost this project's memory: then it knows of no money that was spent.
local function has_forgotten(mark) return (redis.call('GET', P .. 'memory') or '') ~= mark end

-- Reservations: a HASH `reservations` of id -> JSON [run, task, day, amount, started, tokens, worker, sent
-- amount, sent tokens]; the last two, or four, are missing in what an earlier version reserved.
local function negated(number)
  return number == '0' and '0' or '-' .. number  -- The server takes '-0' for no number.
end

local function spend_keys(r)
  return {P .. 'spend:run:' .. r[1], P .. 'spend:task:' .. r[2], P .. 'spend:day:' .. r[3]}
end

local function drop_reservation(id)
  local raw = redis.call('HGET', P .. 'reservations', id)
  if not raw then return nil end
  local r = cjson.decode(raw)
  redis.call('HDEL', P .. 'reservations', id)
  for _, key in ipairs(spend_keys(r)) do
    redis.call('HINCRBY', key, 'reserved', negated(tostring(r[4])))
    redis.call('HINCRBY', key, 'tokens_reserved', negated(tostring(r[6] or '0')))
  end
  return r
end

-- Turns a reservation into what was spent: `amount`, and `used` tokens of which `tokens` tells the kinds, a
-- flat list of kind, count. The task's own totals grow too, whoever holds it now. Returns what was spent
-- since ever by its run, its task and its day, then the tokens of the same three; nothing when there is no
-- such reservation.
local function book_reservation(id, amount, used, model, tokens)
  local r = drop_reservation(id)
  if not r then return {} end
  local spent = {}
  for _, key in ipairs(spend_keys(r)) do spent[#spent + 1] = redis.call('HINCRBY', key, 'spent', amount) end
  for _, key in ipairs(spend_keys(r)) do spent[#spent + 1] = redis.call('HINCRBY', key, 'tokens_spent', used) end
  -- The run's hash is read whole all the time, so what grows with the number of tasks stands with the task.
  local run = P .. 'spend:run:' .. r[1]
  local parts = {{P .. 'spend:task:' .. r[2], r[1]}, {run, 'model|' .. model}}
  if (r[7] or '') ~= '' then parts[3] = {run, 'worker|' .. r[7]} end
  for _, part in ipairs(parts) do
    local key, of = unpack(part)
    redis.call('HINCRBY', key, of .. '|spent', amount)
  end
  local there = redis.call('EXISTS', task_key(r[2])) == 1
  if there then redis.call('HINCRBY', task_key(r[2]), 'cost', amount) end
  for i = 1, #tokens, 2 do
    if tokens[i + 1] ~= '0' then
      redis.call('HINCRBY', run, tokens[i], tokens[i + 1])
      if there then redis.call('HINCRBY', task_key(r[2]), tokens[i], tokens[i + 1]) end
      for _, part in ipairs(parts) do
        local key, of = unpack(part)
        redis.call('HINCRBY', key, of .. '|' .. tokens[i], tokens[i + 1])
      end
    end
  end
  -- A task that has ended is read once (docs/decisions/0002-queue-layout.md): this is to be read too.
  if there and redis.call('HEXISTS', task_key(r[2]), 'ended_at') == 1 then redis.call('INCR', P .. 'revised') end
  redis.call('SADD', P .. 'spenders:' .. r[1], r[2])
  return spent
end
