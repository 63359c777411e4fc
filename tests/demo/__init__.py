"""The demo: a cluster, the chart, two model servers, and a document that one read and the other answered about."""
