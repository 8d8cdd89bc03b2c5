"""Your own video: python scripts/demo.py input=video.mp4 'text=["the horse jumping"]'"""

from samwise.inference.demo import main

if __name__ == "__main__":
    main()
