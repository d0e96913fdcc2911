-- Gives an error that came over gRPC the body and the status its dialect wrote for it.
-- The servicer sends both as metadata: `x-error-json` and `x-http-status`. An error without them
-- is Envoy's own answer to a gRPC client, or a fault of ours: for these, BODY (from errors.py of the dialect)
-- stands before this script.

local STATUS = { ["12"] = "404", ["14"] = "503" }
function envoy_on_response(handle)
  local headers = handle:headers()
  local grpc = headers:get("grpc-status")
  if grpc == nil then
    return
  end
  if grpc == "0" then
    headers:remove("grpc-status")
    headers:remove("grpc-message")
    return
  end
  local status = headers:get("x-http-status") or STATUS[grpc] or "500"
  local body = headers:get("x-error-json") or BODY[status] or BODY["500"]
  handle:body(true):setBytes(body)
  -- Replacing the body invalidates the headers taken before.
  headers = handle:headers()
  headers:replace("content-type", "application/json")
  headers:replace(":status", status)
  headers:remove("x-error-json")
  headers:remove("x-http-status")
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
end
