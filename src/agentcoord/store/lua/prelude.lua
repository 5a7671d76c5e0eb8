-- Put in front of every script of this folder; never run alone.
--
-- KEYS[1]  the project's prefix, `agentcoord:{<project>}:`. Every key that a script touches is this
--          prefix and a suffix, so all of them lie in one cluster slot. The suffixes stand in
--          docs/decisions/0002-queue-layout.md.
-- No state is spelled here: scripts are handed the states that they expect and set.
-- Every script ends with `return finish(reply)`, which writes what `move_state` counted.
local P = KEYS[1]
local tally = {}

-- Redis limits how many values unpack() may push; longer lists go in several calls of this many.
local CHUNK = 2000

local function split(text, by)
  local parts, from = {}, 1
  if text == '' then return parts end
  while true do
    local at = string.find(text, by, from, true)
    if not at then
      parts[#parts + 1] = string.sub(text, from)
      return parts
    end
    parts[#parts + 1] = string.sub(text, from, at - 1)
    from = at + #by
  end
end

local function set_of(csv)
  local set = {}
  for _, word in ipairs(split(csv, ',')) do set[word] = true end
  return set
end

-- One command on one key with any number of values; the replies joined (only for replies that are lists).
local function in_chunks(command, key, values)
  if #values <= CHUNK then return #values > 0 and redis.call(command, key, unpack(values)) or {} end
  local joined = {}
  for from = 1, #values, CHUNK do
    local reply = redis.call(command, key, unpack(values, from, math.min(from + CHUNK - 1, #values)))
    if type(reply) == 'table' then
      for _, item in ipairs(reply) do joined[#joined + 1] = item end
    end
  end
  return joined
end

local function task_key(id) return P .. 't:' .. id end

-- Sets state and further fields of a task, and remembers the change of the counts by state.
local function move_state(id, from, to, ...)
  redis.call('HSET', task_key(id), 'state', to, ...)
  if from ~= '' then tally[from] = (tally[from] or 0) - 1 end
  tally[to] = (tally[to] or 0) + 1
end

local function finish(reply)
  for state, change in pairs(tally) do
    if change ~= 0 then redis.call('HINCRBY', P .. 'count', state, change) end
  end
  return reply
end
