"""In a browser: python scripts/web_demo.py"""

from samwise.web.main import main

if __name__ == "__main__":
    main()
