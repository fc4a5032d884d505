"""The sandbox's services, one file each. A file with a concrete `Service` is found by the supervisor."""
