-- What wrk sends and how it tells what came of it. Arguments after "--": bytes of the body, number of fields of 500 bytes.
function init(args)
  local body, fields = tonumber(args[1]), tonumber(args[2])
  if body > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("b", body)
    wrk.headers["Content-Type"] = "application/octet-stream"
  end
  for number = 1, fields do
    local name = string.format("X-Field-%02d", number)
    wrk.headers[name] = string.rep("v", 500 - #name - 4)
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p99": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, summary.duration, latency:percentile(99.0),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
