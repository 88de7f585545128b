"""The benchmark anyone can rerun: nanogpt-proxy beside nginx, same upstream, one core each."""
