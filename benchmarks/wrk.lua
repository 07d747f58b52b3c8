-- What wrk sends and how it tells what came of it. Arguments after "--": bytes of the body, and 1 for an X-Forwarded-For.
local requests, number = {}, 0

function init(args)
  local body, proxied = tonumber(args[1]), args[2] == "1"
  if body > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("b", body)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  for client = 1, proxied and 64 or 1 do
    if proxied then wrk.headers["X-Forwarded-For"] = string.format("203.0.113.%d", client) end
    requests[client] = wrk.format()
  end
  -- Without a function of ours wrk sends the same bytes again and again, which costs it less.
  if proxied then
    request = function()
      number = number % #requests + 1
      return requests[number]
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(50.0), latency:percentile(99.0),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
