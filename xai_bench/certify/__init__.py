"""What every metric and explainer promises, tried on small exact worlds: `xai-bench check`."""
