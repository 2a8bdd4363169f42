-- Notes that a worker lives, and tells of one that does not.
--
-- KEYS: sorted set of workers by the time, in seconds of the server's clock, at which they are taken
--       for dead.
-- ARGV: this worker, and the seconds for which it is not, from now on.
-- Gives: how many workers there are, and one that is dead, if any is.

local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now, 'LIMIT', 0, 1)
return {redis.call('ZCARD', KEYS[1]), dead[1]}
