"""The local cluster: a real Apache Kafka and every service as child processes of one program."""
