"""Worlds in which a policy acts: one file each, behind the interface of `worlds.world`."""
