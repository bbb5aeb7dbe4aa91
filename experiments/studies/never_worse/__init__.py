"""Thousands of generated problems, most of them nasty, and one question: does a run end worse than it began?"""
