"""What the services share at run time: settings, gRPC, errors, telemetry, capability runtime."""
