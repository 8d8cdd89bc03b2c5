"""The page in the browser: a job is one video with its sentences, run by the loop that everything runs by.

Files and turns are this package's own: gradio's cache doesn't know whose a file is and outlives a killed
server, and its queue knows no addresses.
"""
