-- Gives an error that came over gRPC the body and the status its dialect wrote for it.
-- The servicer sends both as metadata: `x-error-json` and `x-http-status`.

local FALLBACK = '{"error":"INTERNAL_ERROR","message":"Internal server error","detail":"The call failed."}'

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  if status == nil or status == "0" then
    return
  end
  local body = headers:get("x-error-json") or FALLBACK
  local code = headers:get("x-http-status")
  handle:body(true):setBytes(body)
  -- Replacing the body invalidates the headers taken before.
  headers = handle:headers()
  headers:replace("content-type", "application/json")
  if code ~= nil then
    headers:replace(":status", code)
  end
  headers:remove("x-error-json")
  headers:remove("x-http-status")
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
end
