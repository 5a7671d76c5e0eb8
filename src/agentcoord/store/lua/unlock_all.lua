-- Releases every file lock of a task.
-- ARGV  1 task
-- Returns {path, ...}.
-- Cost  3 calls, linear in its locks.
-- Invariant: a path that another task took over is not touched: taking over removes it from the set.
local paths = redis.call('SMEMBERS', P .. 'locks:' .. ARGV[1])
in_chunks('HDEL', P .. 'locks', paths)
redis.call('DEL', P .. 'locks:' .. ARGV[1])
return finish(paths)
