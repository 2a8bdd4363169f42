-- args.items: {id, kind, error, keep}; ARGV[2], ARGV[3]: ids of others that are done, with null
-- characters between them: to be kept, and not. Returns {releases, more}.
local AT_ONCE = 100 -- tasks written to a book at once
local PAGES = 8 -- books for the time that an end is remembered

local function end_it(id, kind, error)
  local task = key('task', id)
  local got = call('HMGET', task, 'state', 'home')
  if got[1] and got[1] ~= 'ended' then
    unhook(id, got[2])
    call('ZREM', key('due', got[2]), id)
    call('HSET', task, 'state', 'ended', 'ended', kind .. ':' .. error)
    call('HDEL', task, 'parcel')
    call('EXPIRE', task, args.keep)
  end
  if tell(id, {kind, error}) then forget(id) end
end

-- Most tasks have never waited, and nobody waits for them.
local function done(text, book)
  local ids = {}
  local function serve()
    if book then call('SADD', book, unpack(ids)) end
    for _, id in ipairs(ids) do
      if call('SISMEMBER', KNOWN, id) == 1 then end_it(id, 'done', '') end
    end
    ids = {}
  end
  for id in string.gmatch(text, '%Z+') do
    ids[#ids + 1] = id
    if #ids == AT_ONCE then serve() end
  end
  if #ids > 0 then serve() end
end

if ARGV[2] ~= '' then
  -- A key for each task would cost three times the time, and twice the memory.
  local book = key('done:' .. args.keep, math.floor(NOW / math.ceil(args.keep / PAGES)))
  done(ARGV[2], book)
  call('EXPIRE', book, args.keep + 3600) -- Sweeps are earlier.
  call('ZADD', BOOKS, NOW + args.keep, book)
end
done(ARGV[3], nil)
for _, item in ipairs(args.items) do
  local id, kind, error = item[1], item[2], item[3]
  if item[4] then call('SETEX', key('ended', id), args.keep, kind .. ':' .. error) end
  end_it(id, kind, error)
end
if args.again then
  continue_todo()
  continue_due()
end
return {out, more}
