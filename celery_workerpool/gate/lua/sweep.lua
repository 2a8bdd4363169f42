-- Returns {releases, more, tasks, open, {task, its unknown dependencies} for the overdue, in use}.
local deadlines = key('deadlines', HOME)
local overdue = {}
for _, id in ipairs(call('ZRANGEBYSCORE', deadlines, '-inf', NOW, 'LIMIT', 0, args.batch)) do
  local got = call('HMGET', key('task', id), 'deadline', 'expires')
  local unknown = {}
  if not got[1] then
    call('ZREM', deadlines, id)
  elseif got[2] and tonumber(got[2]) <= NOW then
    release(id, HOME, {'expired', '', ''})
  else
    if tonumber(got[1]) <= NOW then
      for _, name in ipairs(call('SRANDMEMBER', key('open', id), args.page_open)) do
        if call('EXISTS', key('task', name)) == 0 then unknown[#unknown + 1] = name end
      end
    end
    if #unknown > 0 then
      table.sort(unknown)
      overdue[#overdue + 1] = {id, unknown}
    end
    local again = NOW + args.postpone
    if got[2] then again = math.min(again, tonumber(got[2])) end
    call('ZADD', deadlines, again, id)
  end
end
continue_todo()
continue_due()
for _, book in ipairs(call('ZRANGEBYSCORE', BOOKS, '-inf', '(' .. NOW)) do
  call('UNLINK', book) -- To let it expire may hold Redis up, as large as it may be.
  call('ZREM', BOOKS, book)
end

local cursor = tonumber(call('GET', key('cursor', HOME)) or 0)
local tasks = call('ZRANGE', key('parked', HOME), cursor, cursor + args.page - 1)
call('SET', key('cursor', HOME), #tasks == args.page and cursor + args.page or 0)
local open, seen = {}, {}
for _, id in ipairs(tasks) do
  if #open >= args.page_open then break end
  for _, name in ipairs(call('SRANDMEMBER', key('open', id), args.page_open - #open)) do
    if not seen[name] then
      seen[name] = true
      open[#open + 1] = name
    end
  end
end
-- They are known, unless somebody has taken keys out of the store.
if #tasks > 0 then call('SADD', KNOWN, unpack(tasks)) end
if #open > 0 then call('SADD', KNOWN, unpack(open)) end
-- Of a task whose end nobody has told, its key expires; and nothing waits for it by then.
local scanned = call('SSCAN', KNOWN, call('GET', key('scan', HOME)) or 0, 'COUNT', args.page)
call('SET', key('scan', HOME), scanned[1])
for _, id in ipairs(scanned[2]) do forget(id) end
if #tasks > 0 then call('SET', G .. 'used', NOW, 'EX', args.keep) end
local used = call('EXISTS', G .. 'used')
return {out, more, tasks, open, overdue, used}
