"""Sales: the deals of the firms' pipelines.

One room, `stale_deals`: deals that nobody works on any more are marked, and the people concerned are alerted.
"""
