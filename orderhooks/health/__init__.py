"""Health: what programs that watch a store call. Probes of load balancers and Kubernetes, and metrics for Prometheus.

People read the same in the admin and by `orderhooks_status`.
"""
