-- Numbers events and appends them to the log.
-- ARGV  1 epoch to begin if the log is new  2 about how many entries to keep  then 1 each: event as JSON
-- Returns {epoch, number of the first one}.
-- Cost  2 calls and one an event; at most 1,000.
-- Invariant: within an epoch numbers start at 1 and have no holes; an entry's id is "<number>-0".
local epoch = redis.call('GET', P .. 'epoch')
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', P .. 'epoch', epoch)
end
local first = redis.call('INCRBY', P .. 'events:last', #ARGV - 2) - (#ARGV - 2) + 1
for i = 3, #ARGV do
  local id = string.format('%.0f', first + i - 3) .. '-0'
  redis.call('XADD', P .. 'events', 'MAXLEN', '~', ARGV[2], id, 'e', ARGV[i])
end
return finish({epoch, first})
