-- args.items: {id, publication}.
for _, item in ipairs(args.items) do
  local task = key('task', item[1])
  local got = call('HMGET', task, 'state', 'publication', 'attempts', 'home')
  if got[1] == 'ready' and got[2] == item[2] then
    call('HSET', task, 'state', 'published')
    call('ZADD', key('due', got[4]), NOW + args['repeat'] * 2 ^ (tonumber(got[3]) - 1), item[1])
  end
end
return 0
